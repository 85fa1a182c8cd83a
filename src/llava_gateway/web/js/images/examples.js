// Example pictures that the page draws, each with a question that the model can answer.

const SIDE = 448;

/** @typedef {{name: string, question: import('../i18n.js').Key, draw: (on: CanvasRenderingContext2D) => void}} Example */

/** Examples for the demo model: one shape, large letters, a colour. @type {Example[]} */
const SIMPLE = [
  {
    name: 'circle.png',
    question: 'example.circle',
    draw(on) {
      ground(on, '#fafafa');
      disc(on, '#d62728', SIDE / 2, SIDE / 2, SIDE * 0.31);
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

/** Examples for larger models: a receipt, a chart, a view. @type {Example[]} */
const NATURAL = [
  {
    name: 'receipt.png',
    question: 'example.receipt',
    draw(on) {
      ground(on, '#b89b7a');
      rectangle(on, '#fffdf8', 74, 22, 300, 404);
      on.fillStyle = '#26231f';
      text(on, 'bold 27px', 'center', 'CORNER BAKERY', SIDE / 2, 74);
      text(on, '17px', 'center', '14 May   09:41', SIDE / 2, 104);
      const lines = [
        ['2 croissants', '5.20'],
        ['1 rye loaf', '4.80'],
        ['2 coffees', '6.00'],
      ];
      lines.forEach(([what, price], i) => {
        text(on, '22px', 'left', what, 98, 164 + i * 38);
        text(on, '22px', 'right', price, 350, 164 + i * 38);
      });
      rectangle(on, '#26231f', 98, 262, 252, 2);
      text(on, 'bold 28px', 'left', 'TOTAL', 98, 306);
      text(on, 'bold 28px', 'right', '16.00', 350, 306);
      text(on, '17px', 'center', 'Paid by card. Thank you.', SIDE / 2, 376);
    },
  },
  {
    name: 'chart.png',
    question: 'example.chart',
    draw(on) {
      ground(on, '#ffffff');
      on.fillStyle = '#26231f';
      text(on, 'bold 24px', 'center', 'Visitors per month', SIDE / 2, 48);
      const bars = /** @type {const} */ ([['Jan', 120], ['Feb', 150], ['Mar', 210], ['Apr', 330], ['May', 260]]);
      bars.forEach(([month, count], i) => {
        const height = (count / 330) * 250;
        rectangle(on, '#2f6f9f', 52 + i * 72, 366 - height, 46, height);
        on.fillStyle = '#26231f';
        text(on, '18px', 'center', String(count), 75 + i * 72, 356 - height);
        text(on, '20px', 'center', month, 75 + i * 72, 398);
      });
      rectangle(on, '#26231f', 36, 366, 376, 2);
    },
  },
  {
    name: 'view.png',
    question: 'example.view',
    draw(on) {
      ground(on, '#a9d3ee');
      disc(on, '#f6c945', 360, 84, 42);
      disc(on, '#8fbf7a', 90, 420, 190);
      disc(on, '#7fb36a', 350, 460, 230);
      rectangle(on, '#6fa35c', 0, 330, SIDE, SIDE - 330);
      rectangle(on, '#f3e6cf', 70, 210, 150, 130);
      on.fillStyle = '#b4432f';
      on.beginPath();
      on.moveTo(50, 214);
      on.lineTo(145, 130);
      on.lineTo(240, 214);
      on.fill();
      rectangle(on, '#7a4a2b', 128, 274, 36, 66);
      rectangle(on, '#8ec3e6', 84, 236, 34, 32);
      rectangle(on, '#8ec3e6', 174, 236, 34, 32);
      rectangle(on, '#6b4a2e', 322, 236, 22, 108);
      for (const [x, y, r] of [[333, 200, 52], [296, 226, 36], [370, 228, 38]]) disc(on, '#3f7d3a', x, y, r);
      rectangle(on, '#4f93c4', 0, 392, SIDE, SIDE - 392);
    },
  },
];

/** Returns whether a model is the demo model, under any of its names. @param {string} model */
export const isDemo = (model) => /(^|\/)demo(:[\w.-]+)?$/.test(model);

/** @param {string} model @returns {Example[]} */
export const examplesFor = (model) => (isDemo(model) ? SIMPLE : NATURAL);

/** @param {CanvasRenderingContext2D} on @param {string} colour @param {number} x @param {number} y @param {number} radius */
function disc(on, colour, x, y, radius) {
  on.fillStyle = colour;
  on.beginPath();
  on.arc(x, y, radius, 0, 2 * Math.PI);
  on.fill();
}

/** @param {CanvasRenderingContext2D} on @param {string} colour @param {number} x @param {number} y @param {number} width @param {number} height */
function rectangle(on, colour, x, y, width, height) {
  on.fillStyle = colour;
  on.fillRect(x, y, width, height);
}

/** @param {CanvasRenderingContext2D} on @param {string} size @param {CanvasTextAlign} align @param {string} words @param {number} x @param {number} y */
function text(on, size, align, words, x, y) {
  on.font = `${size} "DejaVu Sans", Verdana, system-ui, sans-serif`;
  on.textAlign = align;
  on.fillText(words, x, y);
}

/** @param {CanvasRenderingContext2D} on @param {string} colour */
function ground(on, colour) {
  rectangle(on, colour, 0, 0, SIDE, SIDE);
}

/** Draws a picture on a canvas of the page. @param {Example} example @param {HTMLCanvasElement} canvas */
export function drawOn(example, canvas) {
  canvas.width = canvas.height = SIDE;
  example.draw(/** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')));
}

/** Returns the drawing as a PNG file. @param {Example} example @returns {Promise<File>} */
export async function drawnFile(example) {
  const canvas = document.createElement('canvas');
  drawOn(example, canvas);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  return new File([blob], example.name, { type: 'image/png' });
}
