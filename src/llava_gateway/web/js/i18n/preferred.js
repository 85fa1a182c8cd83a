// Chooses the language of the page.

/**
 * Returns the first language that the browser prefers; `first` if there is none.
 * @param {string[]} codes  the languages of the page
 * @param {string} first
 */
export function preferred(codes, first) {
  for (const tag of navigator.languages) {
    const fitting = codes.filter((code) => tag === code || tag.startsWith(`${code}-`));
    if (fitting.length) return fitting.reduce((a, b) => (b.length > a.length ? b : a));
  }
  return first;
}
