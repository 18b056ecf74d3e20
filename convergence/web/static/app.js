// What pages do beyond links and forms: the theme, sending a choice at once, two keys.
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const theme = document.querySelector("[data-theme-switch]");
  if (theme) {
    theme.hidden = false;
    theme.addEventListener("click", () => {
      const isDark = root.dataset.theme
        ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = isDark ? "light" : "dark";
      document.cookie = `cdp_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
      document.dispatchEvent(new Event("cdp:theme"));
    });
  }

  document.addEventListener("change", (event) => {
    const form = event.target.closest("[data-send-on-change]");
    if (form) form.requestSubmit();
  });

  // A stream that fails three times running: ask for the page itself every five seconds, until
  // the stream is back. Nobody asks from a hidden tab.
  let failures = 0;
  let asking = 0;
  document.addEventListener("htmx:sse:error", (event) => {
    const part = event.target.closest("[data-live]");
    failures += 1;
    if (!part || failures < 3 || asking) return;
    asking = setInterval(() => {
      if (document.hidden) return;
      htmx.ajax("GET", location.href, { target: "#live", select: "#live", swap: "outerMorph" });
    }, 5000);
  });
  document.addEventListener("htmx:sse:after:connection", () => {
    failures = 0;
    clearInterval(asking);
    asking = 0;
  });
})();
