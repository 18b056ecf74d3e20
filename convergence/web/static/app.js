// What pages do beyond links and forms: the theme, sending a choice at once, keys, asking again.
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

  // `/` finds a run; `g` and a letter lead to a page. Who does not want them turns them off.
  const switched = document.querySelector("[data-keys-switch]");
  const areOn = () => localStorage.getItem("cdp_keys") !== "off";
  if (switched) {
    switched.hidden = false;
    const say = () => switched.setAttribute("aria-pressed", String(areOn()));
    say();
    switched.addEventListener("click", () => {
      localStorage.setItem("cdp_keys", areOn() ? "off" : "on");
      say();
    });
  }
  let isGoing = false;
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea, [contenteditable]");
    if (!switched || !areOn() || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = isGoing && document.querySelector(`nav [data-key="${CSS.escape(event.key)}"]`);
    isGoing = event.key === "g";
    if (place) place.click();
    if (event.key !== "/") return;
    event.preventDefault();
    const find = document.querySelector("[data-find]");
    if (find) find.focus();
    else document.querySelector('nav [data-key="r"]')?.click();
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
