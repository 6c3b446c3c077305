// The theme makes these elements when a page is shown: buttons that copy code get a name of their
// own, and tables that scroll can be reached with the keyboard.
new MutationObserver(() => {
  for (const [index, nav] of document.querySelectorAll(".md-code__nav").entries()) {
    if (!nav.ariaLabel) nav.ariaLabel = `Code ${index + 1}`;
  }
  for (const wrap of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) {
    wrap.tabIndex = 0;
  }
}).observe(document, { childList: true, subtree: true });
