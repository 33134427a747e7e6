/* The light or the dark look: the system's, or what was chosen here. Runs before the first paint. */
(() => {
  const KEY = "landbridge-look";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function kept() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden; the page works without it
    }
  }

  function keep(look) {
    try {
      localStorage.setItem(KEY, look);
    } catch {
      /* as above */
    }
  }

  const isDark = () => (root.dataset.look ? root.dataset.look === "dark" : dark.matches);

  function show(button) {
    button.querySelector("span").textContent = isDark() ? "Light look" : "Dark look"; // what it would give
  }

  const chosen = kept();
  if (chosen === "light" || chosen === "dark") root.dataset.look = chosen;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("look");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.look = isDark() ? "light" : "dark";
      keep(root.dataset.look);
      show(button);
    });
    dark.addEventListener("change", () => show(button));
    show(button);
  });
})();
