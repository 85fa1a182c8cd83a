// The frame of index.html is shown until the scripts have loaded. Then the page replaces it, and takes over its text and focus.

/** Removes the frame. Returns the text that was typed into it, and whether the page's text box should get the focus. */
export function takeFrame() {
  const frame = document.querySelector('.early');
  const box = /** @type {HTMLTextAreaElement|null} */ (frame?.querySelector('textarea') ?? null);
  // On a touch screen, the focus opens the keyboard. The person decides about that.
  const focus = box === document.activeElement || !matchMedia('(pointer: coarse)').matches;
  frame?.remove();
  return { words: box?.value.trim() ?? '', focus };
}
