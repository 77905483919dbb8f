// What scrolls sideways can be reached, and so scrolled, by the keyboard.
const reach = () => {
  for (const one of document.querySelectorAll(".bd-article :is(table, mjx-container[display])")) {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
  }
};
reach();
addEventListener("load", reach);
addEventListener("resize", reach);
