// Sets the theme before the first paint; a module would run after it and the page would flash.
(() => {
  try {
    const root = document.documentElement;
    const theme = localStorage.getItem('llava.theme');
    if (theme === '"light"' || theme === '"dark"') root.dataset.theme = theme.slice(1, -1);
  } catch {
    // Without storage the page follows the system.
  }
})();
