// Renders a model's text as Markdown: it never runs code, and never fetches a picture or anything else.

import DOMPurify from '../vendor/purify.js';
import { Marked } from '../vendor/marked.js';
import { html, useLayoutEffect, useMemo, useRef } from './html.js';
import { linkPictures } from './images/mentions.js';

const ESCAPES = /** @type {Record<string, string>} */ ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' });
/** @param {string} text */
const escape = (text) => text.replace(/[&<>"']/g, (c) => ESCAPES[c]);

/** @param {string} href @param {string} inner */
const link = (href, inner) => (/^https?:\/\//i.test(href) ? `<a href="${escape(href)}">${inner}</a>` : inner);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // HTML that a model writes is shown as text.
    html: ({ text, block }) => (block ? `<p>${escape(text)}</p>` : escape(text)),
    image: ({ href, text }) => link(href, escape(text || href)),
    link({ href, tokens }) {
      return link(href, this.parser.parseInline(tokens));
    },
    checkbox: ({ checked }) => (checked ? '☑ ' : '☐ '),
  },
});

const CLEAN = {
  ALLOWED_TAGS: 'p br hr strong em del code pre ul ol li blockquote h1 h2 h3 h4 h5 h6 table thead tbody tr th td a'.split(' '),
  ALLOWED_ATTR: ['href', 'align', 'start'],
  ADD_URI_SAFE_ATTR: ['align', 'start'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^https?:\/\//i,
  RETURN_DOM_FRAGMENT: /** @type {const} */ (true),
};

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName !== 'A') return;
  node.setAttribute('target', '_blank');
  node.setAttribute('rel', 'noopener noreferrer nofollow');
});

/**
 * Renders the text of a model. Only the blocks that changed are rendered again, so a long answer streams without redrawing its start.
 * @param {{text: string, pictures?: number}} props  `pictures`: how many there are to speak of
 */
export function Markdown({ text, pictures = 0 }) {
  const blocks = useMemo(() => {
    const tokens = marked.lexer(text);
    return tokens.filter((token) => token.type !== 'space' && token.type !== 'def').map((token) => ({ token, links: tokens.links }));
  }, [text]);
  return html`<div class="words">${blocks.map(({ token, links }, i) => html`<${Block} key=${i} token=${token} links=${links} pictures=${pictures} />`)}</div>`;
}

/** @param {{token: import('../vendor/marked.js').Token, links: object, pictures: number}} props */
function Block({ token, links, pictures }) {
  const place = useRef(/** @type {HTMLDivElement|null} */ (null));
  const known = Object.keys(links).length;
  useLayoutEffect(() => {
    const clean = DOMPurify.sanitize(marked.parser([token]), CLEAN);
    for (const table of clean.querySelectorAll('table')) {
      // A wide table scrolls in its own box; the box is reachable by keyboard.
      const box = document.createElement('div');
      box.className = 'table';
      box.tabIndex = 0;
      table.replaceWith(box);
      box.append(table);
    }
    linkPictures(clean, pictures);
    place.current?.replaceChildren(clean);
  }, [token.raw, known, pictures]);
  return html`<div class="block" ref=${place}></div>`;
}
