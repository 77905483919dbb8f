// What scrolls by itself can be reached, and so scrolled, by the keyboard. The theme asks all of
// a page at once, for which all of it must be laid out (lightpages.py takes that away); here each
// is asked when it comes near.
{
  const kinds = "pre, table, .cell_output > .output, .pst-scrollable-table-container";
  const reach = (seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
    }
  };
  const near = new IntersectionObserver(reach, { rootMargin: "300px" });
  for (const one of document.querySelectorAll(kinds)) near.observe(one);
}
