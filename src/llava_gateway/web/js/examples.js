// Pictures that the page draws itself, with a question that every model here can answer: for people who have none at hand.

const SIDE = 448;

/** @typedef {{name: string, question: import('./i18n.js').Key, draw: (on: CanvasRenderingContext2D) => void}} Example */

/** @type {Example[]} */
export const EXAMPLES = [
  {
    name: 'circle.png',
    question: 'example.circle',
    draw(on) {
      ground(on, '#fafafa');
      on.fillStyle = '#d62728';
      on.beginPath();
      on.arc(SIDE / 2, SIDE / 2, SIDE * 0.31, 0, 2 * Math.PI);
      on.fill();
    },
  },
  {
    name: 'letters.png',
    question: 'example.letters',
    draw(on) {
      ground(on, '#fafafa');
      on.fillStyle = '#1f5ac8';
      on.font = `bold ${SIDE * 0.5}px "DejaVu Sans", Verdana, system-ui, sans-serif`;
      on.textAlign = 'center';
      on.textBaseline = 'middle';
      on.fillText('F7', SIDE / 2, SIDE * 0.52);
    },
  },
  {
    name: 'star.png',
    question: 'example.star',
    draw(on) {
      ground(on, '#f0d21e');
      on.fillStyle = '#2ca02c';
      on.beginPath();
      for (let i = 0; i < 10; i++) {
        const angle = -Math.PI / 2 + (i * Math.PI) / 5;
        const reach = SIDE * 0.34 * (i % 2 ? 0.42 : 1.05);
        on.lineTo(SIDE / 2 + reach * Math.cos(angle), SIDE * 0.52 + reach * Math.sin(angle));
      }
      on.fill();
    },
  },
];

/** @param {CanvasRenderingContext2D} on @param {string} colour */
function ground(on, colour) {
  on.fillStyle = colour;
  on.fillRect(0, 0, SIDE, SIDE);
}

/** Draws on a canvas of the page. @param {Example} example @param {HTMLCanvasElement} canvas */
export function drawOn(example, canvas) {
  canvas.width = canvas.height = SIDE;
  example.draw(/** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')));
}

/** The drawing as a PNG file. @param {Example} example @returns {Promise<File>} */
export async function drawnFile(example) {
  const canvas = document.createElement('canvas');
  drawOn(example, canvas);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  return new File([blob], example.name, { type: 'image/png' });
}
