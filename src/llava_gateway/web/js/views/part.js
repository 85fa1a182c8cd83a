// A picture, or the part of it that the question is about, in a box of any shape.

import { html } from '../html.js';
import { PictureImage } from './parts.js';

/** @param {{picture: import('../types.js').Picture}} props */
export function PartImage({ picture }) {
  if (!picture.region) return html`<${PictureImage} picture=${picture} alt="" />`;
  const [x, y, width, height] = picture.region;
  const shape = (picture.width * width) / (picture.height * height);
  const place = { width: `${100 / width}%`, height: `${100 / height}%`, left: `${(-100 * x) / width}%`, top: `${(-100 * y) / height}%` };
  return html`<span class="part" data-wide=${shape > 1} style=${{ aspectRatio: shape }}>
    <span style=${place}><${PictureImage} picture=${picture} alt="" /></span>
  </span>`;
}

/** The frame around the part of a picture that the question was about; its parent has the picture's size. @param {{region: import('../types.js').Region}} props */
export function PartFrame({ region: [x, y, width, height] }) {
  const place = { left: `${100 * x}%`, top: `${100 * y}%`, width: `${100 * width}%`, height: `${100 * height}%` };
  return html`<span class="part-frame" style=${place}></span>`;
}
