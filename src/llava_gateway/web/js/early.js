// Sets the theme and language before the first paint; a module would run after it and the page would flash.
(() => {
  try {
    const root = document.documentElement;
    const theme = localStorage.getItem('llava.theme');
    if (theme === '"light"' || theme === '"dark"') root.dataset.theme = theme.slice(1, -1);
    const language = localStorage.getItem('llava.language') ?? `"${navigator.language}"`;
    root.lang = language.startsWith('"zh') ? 'zh-Hans' : 'en';
  } catch {
    // Without storage the page follows the system.
  }
})();
