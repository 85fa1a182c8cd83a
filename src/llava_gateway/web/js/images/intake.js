// Ways to add pictures besides the file picker: drop, paste and screen capture. Nothing is ignored silently.

import { t } from '../i18n.js';
import { catalogue } from '../state.js';
import { add, addFrom, refuse } from './pictures.js';

const NAME_LENGTH = 200;
/** A picture as a data: URL, as web pages have them. */
const PICTURE_AS_ADDRESS = /^data:(image\/[\w.+-]+);base64,([A-Za-z0-9+/=\s]+)$/;

/**
 * Handles everything in a drop or a paste. Takes files; refuses folders, addresses and text with the reason.
 * @param {DataTransfer} data
 * @returns {boolean} whether there was anything
 */
export function takeTransfer(data) {
  const entries = [...data.items].filter((item) => item.kind === 'file');
  for (const item of entries) {
    const file = item.getAsFile();
    if (item.webkitGetAsEntry?.()?.isDirectory) refuse(file?.name || t('chip.folder'), 'folder');
    else if (file) add(file);
  }
  if (entries.length) return true;
  const link = data.getData('text/uri-list') || data.getData('text/plain');
  if (link) takeLink(link.trim());
  return Boolean(link);
}

/** @param {string} link */
function takeLink(link) {
  const picture = pictureIn(link);
  const address = /^https?:/.test(link);
  if (picture) add(picture);
  else if (address && catalogue.value?.fetch) addFrom(link);
  else refuse(link.slice(0, NAME_LENGTH), address ? 'picture_address' : 'not_a_file');
}

/** Returns the picture in a data: URL; null if there is none, or if it is invalid. @param {string} link */
function pictureIn(link) {
  const [, type, base64] = PICTURE_AS_ADDRESS.exec(link) ?? [];
  try {
    return base64 ? new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], '', { type }) : null;
  } catch {
    return null;
  }
}

/** Whether this browser can capture a screen; phones can't. */
export const canCaptureScreen = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

/** Whether the device has a camera at hand: on phones and tablets, the file picker opens it. */
export const hasCamera = () => matchMedia('(pointer: coarse)').matches;

/** Captures a screen, window or tab that the person chooses. */
export async function captureScreen() {
  /** @type {MediaStream|null} */
  let stream = null;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: false });
    add(await firstFrame(stream));
  } catch (error) {
    // A person who closes the browser's dialog wants no picture. All other errors are reported.
    if (/** @type {Error} */ (error).name !== 'NotAllowedError') refuse(t('chip.screen'), 'screen');
  } finally {
    for (const track of stream?.getTracks() ?? []) track.stop();
  }
}

/** @param {MediaStream} stream @returns {Promise<File>} */
async function firstFrame(stream) {
  const video = document.createElement('video');
  video.muted = true;
  video.srcObject = stream;
  await video.play();
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).drawImage(video, 0, 0);
  video.srcObject = null;
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  return new File([blob], `${t('chip.screen')}.png`, { type: 'image/png' });
}
