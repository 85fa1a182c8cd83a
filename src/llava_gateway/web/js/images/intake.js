// The ways in for pictures beside the file picker: what is dropped or pasted, and the screen. Nothing is dropped in silence.

import { t } from '../i18n.js';
import { add, refuse } from './pictures.js';

const NAME_LENGTH = 200;
/** A picture written out as an address, as web pages have them. */
const PICTURE_AS_ADDRESS = /^data:(image\/[\w.+-]+);base64,([A-Za-z0-9+/=\s]+)$/;

/**
 * Everything a drop or paste carries: files are taken; folders, addresses and text are refused in words.
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
  if (picture) add(picture);
  else refuse(link.slice(0, NAME_LENGTH), /^https?:/.test(link) ? 'picture_address' : 'not_a_file');
}

/** The picture that is written out in an address; null where none is, or not rightly. @param {string} link */
function pictureIn(link) {
  const [, type, base64] = PICTURE_AS_ADDRESS.exec(link) ?? [];
  try {
    return base64 ? new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], '', { type }) : null;
  } catch {
    return null;
  }
}

/** Whether this browser can show us a screen; phones can't. */
export const canCaptureScreen = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

/** Whether there is a camera to take a picture with at hand: on phones and tablets the file picker opens it. */
export const hasCamera = () => matchMedia('(pointer: coarse)').matches;

/** Takes one picture of a screen, window or tab that the person chooses. */
export async function captureScreen() {
  /** @type {MediaStream|null} */
  let stream = null;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: false });
    add(await firstFrame(stream));
  } catch (error) {
    // Who closes the browser's question wants no picture; all else is said.
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
