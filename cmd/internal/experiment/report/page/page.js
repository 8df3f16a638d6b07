(function () {
  "use strict";
  var root = document.documentElement;
  var button = document.getElementById("theme");
  function dark() {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function label() {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", "Show in " + (dark() ? "light" : "dark") + " colours");
  }
  button.hidden = false;
  button.addEventListener("click", function () {
    root.setAttribute("data-theme", dark() ? "light" : "dark");
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();

  // What a mark stands for, at once and not after the second that a browser waits.
  var tip = document.getElementById("tip");
  function titleOf(node) {
    for (; node && node !== document.body; node = node.parentNode) {
      if (node.tagName === "svg" && !node.ownerSVGElement) return null;
      for (var c = node.firstElementChild; c; c = c.nextElementSibling) {
        if (c.tagName === "title") return c;
      }
    }
    return null;
  }
  document.addEventListener("pointermove", function (e) {
    var t = e.target.closest && e.target.closest("svg") ? titleOf(e.target) : null;
    if (!t) { tip.hidden = true; return; }
    tip.textContent = t.textContent;
    tip.hidden = false;
    var x = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 8);
    var y = e.clientY + 18 + tip.offsetHeight > innerHeight ? e.clientY - tip.offsetHeight - 12 : e.clientY + 18;
    tip.style.left = Math.max(8, x) + "px";
    tip.style.top = y + "px";
  });

  // A link to what is folded opens it.
  function reveal() {
    var node = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (node && node.tagName === "DETAILS") { node.open = true; node.scrollIntoView(); }
  }
  addEventListener("hashchange", reveal);
  reveal();

  // Paper has nothing to open.
  var opened = [];
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details:not([open]):not(.raw)").forEach(function (d) { d.open = true; opened.push(d); });
  });
  addEventListener("afterprint", function () {
    opened.forEach(function (d) { d.open = false; });
    opened = [];
  });
})();
