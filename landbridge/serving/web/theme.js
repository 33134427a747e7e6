/* Light or dark theme: the one chosen on this page, else the system's. Runs before the first paint, so that nothing flashes. */
(() => {
  const KEY = "landbridge-theme";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function kept() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden; the page works without it
    }
  }

  function keep(theme) {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      /* as above */
    }
  }

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  function show(button) {
    button.querySelector("span").textContent = isDark() ? "Light theme" : "Dark theme"; // the theme that a click sets
  }

  const chosen = kept();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep(root.dataset.theme);
      show(button);
    });
    dark.addEventListener("change", () => show(button));
    show(button);
  });
})();
