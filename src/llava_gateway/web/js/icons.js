// One set of icons: 24 units wide, lines of 1.5.

import { html } from './html.js';

const LINES = {
  plus: 'M12 5v14M5 12h14',
  send: 'M12 19V5M5.5 11.5 12 5l6.5 6.5',
  stop: 'M7 7h10v10H7z',
  close: 'M6 6l12 12M18 6 6 18',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  sidebar: 'M4 5h16v14H4zM9.5 5v14',
  compose: 'M12 5H6a2 2 0 0 0-2 2v11a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2v-6M10 14l.6-3L18.5 3.1a1.5 1.5 0 0 1 2.1 2.1L12.9 13.3z',
  pencil: 'M5 19l.8-4L16.5 4.3a1.7 1.7 0 0 1 2.4 0l.8.8a1.7 1.7 0 0 1 0 2.4L9 18.2z',
  trash: 'M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 10.5v6M13.5 10.5v6',
  copy: 'M9 9h10.5v10.5H9zM5.5 15H4.5V4.5H15v1',
  again: 'M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4',
  search: 'M10.5 10.5m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0M15 15l5 5',
  fork: 'M7 4.5v15M7 14c0-5 10-2.5 10-8M14 8l3-3 3 3',
  save: 'M12 4.5v10M7.5 10.5 12 15l4.5-4.5M5 19.5h14',
  open: 'M12 15V5M7.5 9.5 12 5l4.5 4.5M5 19.5h14',
  picture: 'M4 5h16v14H4zM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15.5 9.5h.01',
  broken: 'M4 5h16v14H4zM4 15l4-4 3 3M20 13l-3-1-3 4M9 5l2 4-2 3',
  chevron: 'M7 10l5 5 5-5',
  left: 'M14.5 6l-6 6 6 6',
  right: 'M9.5 6l6 6-6 6',
  down: 'M12 5v13M6.5 12.5 12 18l5.5-5.5',
  sliders: 'M4 7.5h9M18 7.5h2M4 16.5h3M12 16.5h8M15.5 7.5m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0M9.5 16.5m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0',
  sun: 'M12 12m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0M12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1',
  moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z',
  system: 'M4 5h16v11H4zM9 20h6M12 16v4',
  keyboard: 'M3.5 6.5h17v11h-17zM7 10h.01M10.3 10h.01M13.7 10h.01M17 10h.01M7.5 14h9',
  more: 'M5.5 12m-.6 0a.6.6 0 1 0 1.2 0a.6.6 0 1 0-1.2 0M12 12m-.6 0a.6.6 0 1 0 1.2 0a.6.6 0 1 0-1.2 0M18.5 12m-.6 0a.6.6 0 1 0 1.2 0a.6.6 0 1 0-1.2 0',
  camera: 'M4 8h3.5l1.5-2.5h6L16.5 8H20v11H4zM12 13.2m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0',
  screen: 'M3.5 5h17v11.5h-17zM8.5 20h7M12 16.5V20',
  zoomin: 'M10.5 10.5m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0M15 15l5 5M10.5 8v5M8 10.5h5',
  zoomout: 'M10.5 10.5m-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0M15 15l5 5M8 10.5h5',
  fit: 'M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15',
  turnright: 'M18.5 9.5A7 7 0 1 0 19 13M18.8 4.5v5h-5',
  turnleft: 'M5.5 9.5A7 7 0 1 1 5 13M5.2 4.5v5h5',
  pin: 'M9 4h6l-.7 6 3.2 3.5h-11L9.7 10zM12 13.5V20',
  crop: 'M7.5 3.5v13h13M3.5 7.5h13v13',
  warning: 'M12 4.5 21 19.5H3zM12 10.5v4M12 17h.01',
  compare: 'M4 5h6.5v14H4zM13.5 5H20v14h-6.5z',
  eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 12m-2.8 0a2.8 2.8 0 1 0 5.6 0a2.8 2.8 0 1 0-5.6 0',
};

/** @param {{name: keyof typeof LINES}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${LINES[name]} /></svg>`;
}
