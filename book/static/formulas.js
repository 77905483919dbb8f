// MathJax weighs more than most pages: it comes when a formula is near, or is to be printed.
{
  const address = new URL("../mathjax/tex-mml-chtml.js", document.currentScript.src);
  let coming;
  const load = () =>
    (coming ??= new Promise((done, failed) => {
      document.head.append(
        Object.assign(document.createElement("script"), { src: address, onload: done, onerror: failed }),
      );
    }));
  const near = new IntersectionObserver(
    (seen) => seen.some((one) => one.isIntersecting) && load() && near.disconnect(),
    { rootMargin: "300px" },
  );
  for (const formula of document.querySelectorAll(".bd-article .math")) near.observe(formula);
  addEventListener("beforeprint", load);
  window.drawFormulas = async () => {
    if (!document.querySelector(".bd-article .math")) return;
    await load();
    await MathJax.startup.promise;
    await MathJax.startup.document.lazyTypesetAll();
  };
}
