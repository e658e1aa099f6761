// Comforts only: the page says everything without this script.
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const tip = document.getElementById("tip");
  for (const mark of document.querySelectorAll("[data-tip]")) {
    mark.querySelector("title")?.remove(); // else the browser shows its own tip as well
    mark.addEventListener("pointermove", (event) => {
      tip.textContent = mark.dataset.tip;
      tip.style.display = "block";
      const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
      const above = event.clientY - tip.offsetHeight - 12;
      tip.style.left = `${Math.max(8, x)}px`;
      tip.style.top = `${above > 4 ? above : event.clientY + 16}px`;
    });
    mark.addEventListener("pointerleave", () => { tip.style.display = "none"; });
  }

  // A key of a legend hides its series in its own chart, or in all charts where one legend serves them all.
  for (const key of document.querySelectorAll("[data-toggle]")) {
    const scope = key.closest("figure") ?? key.closest("section");
    key.tabIndex = 0;
    key.setAttribute("role", "button");
    const toggle = () => {
      const off = key.classList.toggle("off");
      for (const series of scope.querySelectorAll("[data-series]")) {
        if (series.dataset.series === key.dataset.toggle) series.classList.toggle("hidden", off);
      }
    };
    key.addEventListener("click", toggle);
    key.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); }
    });
  }

  // The unrounded values of a table, tab-separated: it pastes into any spreadsheet.
  const cell = (each) => each.dataset.v
    ?? [...each.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join(" ").replace(/\s+/g, " ");
  const tsv = (table) => [...table.rows].map((row) => [...row.cells].map(cell).join("\t")).join("\n");
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    const says = button.textContent;
    button.addEventListener("click", async () => {
      const source = document.querySelector(button.dataset.copy);
      await copy(source.tagName === "TABLE" ? tsv(source) : source.textContent);
      button.textContent = "copied";
      setTimeout(() => { button.textContent = says; }, 1500);
    });
  }

  const all = (open) => { for (const each of document.querySelectorAll("details")) each.open = open; };
  for (const button of document.querySelectorAll("[data-all]")) {
    button.addEventListener("click", () => {
      for (const each of button.closest("section").querySelectorAll("details")) each.open = button.dataset.all === "open";
    });
  }
  addEventListener("beforeprint", () => all(true));
  const follow = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", follow);
  follow();
})();
