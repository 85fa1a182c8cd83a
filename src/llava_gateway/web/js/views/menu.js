// A button that opens a menu above everything; arrow keys move through it.

import { html, useEffect, useRef, useState } from '../html.js';
import { Icon } from '../icons.js';

/**
 * One line of a menu. `checked` makes it an item that can be on or off; of the lines with the same `group`, one is on. A line without `onChoose` is
 * a heading.
 * @typedef {{label: string, icon?: any, hint?: string, checked?: boolean, group?: string, disabled?: boolean, onChoose?: () => void}} Item
 */

const WIDTH = 232;
const GAP = 6;

/**
 * `items` are created when it opens. While it is `busy`, it does not open but keeps the focus.
 * @param {{label: string, icon: any, items: () => (Item|null|false)[], class?: string, notes?: (string|false)[], busy?: boolean}} props
 */
export function Menu({ label, icon, items, class: name = 'icon-button', notes = [], busy = false }) {
  const button = useRef(/** @type {HTMLButtonElement|null} */ (null));
  const box = useRef(/** @type {HTMLElement|null} */ (null));
  const [open, setOpen] = useState(false);

  useEffect(() => {
    // Then the browser opens and closes it, and does not treat a click on the button as one outside the menu.
    if (button.current) button.current.popoverTargetElement = box.current;
  }, []);
  useEffect(() => {
    if (open) lines()[0]?.focus();
  }, [open]);

  const lines = () => /** @type {HTMLElement[]} */ ([...(box.current?.querySelectorAll('button:not(:disabled)') ?? [])]);

  /** @param {ToggleEvent} event */
  function onToggle(event) {
    if (event.newState === 'open') place();
    setOpen(event.newState === 'open');
  }

  /** Above the button if there is more room, and inside the window. */
  function place() {
    const at = /** @type {HTMLElement} */ (button.current).getBoundingClientRect();
    const { style } = /** @type {HTMLElement} */ (box.current);
    const above = at.top > innerHeight - at.bottom;
    style.left = `${Math.max(8, Math.min(at.left, innerWidth - WIDTH - 8))}px`;
    style.top = above ? 'auto' : `${at.bottom + GAP}px`;
    style.bottom = above ? `${innerHeight - at.top + GAP}px` : 'auto';
    style.maxHeight = `${(above ? at.top : innerHeight - at.bottom) - GAP - 8}px`;
  }

  function close() {
    box.current?.hidePopover();
    button.current?.focus();
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const all = lines();
    const here = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: -1 }[event.key];
    event.stopPropagation();
    if (to !== undefined) {
      event.preventDefault();
      all.at(to % all.length)?.focus();
    } else if (event.key === 'Escape' || event.key === 'Tab') {
      if (event.key === 'Escape') event.preventDefault();
      close();
    }
  }

  return html`<button ref=${button} class=${name} type="button" aria-haspopup="menu" aria-expanded=${open} aria-disabled=${busy || undefined} title=${label} aria-label=${label}
      onClick=${(/** @type {Event} */ event) => busy && event.preventDefault()}>
      <${Icon} name=${icon} />
    </button>
    <div ref=${box} class="menu" popover="auto" role="menu" aria-label=${label} onBeforeToggle=${onToggle} onKeyDown=${onKey}>
      ${open && items().map((item) => item && html`<${Line} key=${(item.group ?? '') + item.label} item=${item} close=${close} />`)}
      ${open && notes.map((note) => note && html`<p class="menu-note" key=${note}>${note}</p>`)}
    </div>`;
}

/** @param {{item: Item, close: () => void}} props */
function Line({ item, close }) {
  const { label, icon, hint, checked, group, disabled, onChoose } = item;
  if (!onChoose) return html`<p class="menu-head" role="presentation">${label}</p>`;
  const role = checked === undefined ? 'menuitem' : group ? 'menuitemradio' : 'menuitemcheckbox';
  const choose = () => {
    close();
    onChoose();
  };
  return html`<button type="button" role=${role} aria-checked=${checked} disabled=${disabled} title=${hint} onClick=${choose}>
    ${icon ? html`<${Icon} name=${icon} />` : html`<span class="menu-gap"></span>`}<span>${label}</span>${checked && html`<${Icon} name="check" />`}
  </button>`;
}
