// What pages need beyond the theme: keys reach what scrolls, landmarks have names, films stop.
document.addEventListener("DOMContentLoaded", () => {
  // Whoever has no mouse scrolls with the arrow keys, once the thing that scrolls can be reached.
  const reach = () => {
    for (const formula of document.querySelectorAll("article mjx-container:not([display])")) {
      const wide = formula.getBoundingClientRect().width > formula.closest("p, li, td, dd, div").clientWidth;
      if (wide) formula.classList.add("wide");
    }
    for (const box of document.querySelectorAll("pre, div.highlight, div.math, .table-wrapper, mjx-container.wide")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
      const fade = () => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
      fade();
      box.onscroll = fade;  // telephones hide the bar that says that something scrolls
    }
  };
  reach();
  addEventListener("resize", reach);
  window.MathJax?.startup?.promise?.then(reach);
  for (const folded of document.querySelectorAll("details")) folded.addEventListener("toggle", reach);

  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "Pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "On this page");

  // The theme opens its drawers by labels of hidden boxes, which keys do not reach.
  const shown = (elements) => [...elements].find((element) => element.offsetWidth);
  const drawers = { __navigation: ["List of pages", ".sidebar-drawer"], __toc: ["On this page", ".toc-drawer"] };
  for (const [id, [name, drawer]] of Object.entries(drawers)) {
    const box = document.getElementById(id);
    const buttons = [...document.querySelectorAll(`label[for=${id}]:not(.overlay)`)].map((label) => {
      const button = Object.assign(document.createElement("button"), { type: "button", className: label.className });
      button.ariaLabel = name;
      button.append(...label.childNodes);
      label.replaceWith(button);
      button.addEventListener("click", () => {
        box.click();
        shown(document.querySelectorAll(`${drawer} :is(a, input)`))?.focus();
      });
      return button;
    });
    const tell = () => { for (const button of buttons) button.ariaExpanded = box.checked; };
    box.addEventListener("change", tell);
    for (const link of document.querySelectorAll(`${drawer} a[href^="#"]`))
      link.addEventListener("click", () => { if (box.checked) box.click(); });
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !box.checked) return;
      box.click();
      shown(buttons)?.focus({ preventScroll: true });
    });
    tell();
  }
  for (const link of document.querySelectorAll("article a"))  // a number alone says little to a listener
    if (/^\d\d$/.test(link.textContent)) link.ariaLabel = `notebook ${link.textContent}`;
  for (const link of document.querySelectorAll("a.headerlink")) link.tabIndex = -1;  // they are for copying

  // A film moves, unless the reader's system asks for calm; the button stops it, and starts it again.
  for (const film of document.querySelectorAll("article div.film")) {
    const image = film.querySelector("img"), button = film.querySelector("button"), calm = film.querySelector("source");
    const moving = image.getAttribute("src"), still = calm.getAttribute("srcset");
    const show = (moves) => {
      calm.remove();
      image.src = moves ? moving : still;
      button.textContent = moves ? "Stop the animation" : "Play the animation";
      button.dataset.moves = moves;
    };
    const wanted = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    button.textContent = wanted ? "Stop the animation" : "Play the animation";
    button.dataset.moves = wanted;
    button.addEventListener("click", () => show(button.dataset.moves !== "true"));
    button.hidden = false;
  }
});
