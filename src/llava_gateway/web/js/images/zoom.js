// Where a picture lies in a box while it is zoomed and moved (pure).

/** @typedef {{width: number, height: number}} Size */
/** @typedef {{scale: number, x: number, y: number}} Place  of the picture's top left corner, in pixels of the box */
/** @typedef {{x: number, y: number}} Point */

/** Zoom limits: small pictures may grow to fill the box, and all pictures until single pixels are visible. */
const MOST_FITTED = 2;
const MOST = 8;

/** Returns the scale at which the whole picture is visible. @param {Size} picture @param {Size} box */
export function fitScale(picture, box) {
  return Math.min(MOST_FITTED, box.width / picture.width, box.height / picture.height);
}

/** Returns the place of the whole picture in the middle. @param {Size} picture @param {Size} box @returns {Place} */
export const fitted = (picture, box) => bounded({ scale: fitScale(picture, box), x: 0, y: 0 }, picture, box);

/** Zooms so that the point stays where it is. @param {Place} place @param {number} factor @param {Point} at @param {Size} picture @param {Size} box */
export function zoomed(place, factor, at, picture, box) {
  const least = fitScale(picture, box);
  const scale = Math.min(Math.max(place.scale * factor, least), Math.max(MOST, least));
  const ratio = scale / place.scale;
  return bounded({ scale, x: at.x - (at.x - place.x) * ratio, y: at.y - (at.y - place.y) * ratio }, picture, box);
}

/** @param {Place} place @param {number} dx @param {number} dy @param {Size} picture @param {Size} box */
export const moved = (place, dx, dy, picture, box) => bounded({ ...place, x: place.x + dx, y: place.y + dy }, picture, box);

/** Centres a picture that is smaller than the box, else leaves no empty edge. @param {Place} place @param {Size} picture @param {Size} box @returns {Place} */
function bounded({ scale, x, y }, picture, box) {
  /** @param {number} at @param {number} length @param {number} room */
  const within = (at, length, room) => (length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, at)));
  return { scale, x: within(x, picture.width * scale, box.width), y: within(y, picture.height * scale, box.height) };
}
