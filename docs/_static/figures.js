// Wide tables scroll within the page instead of widening it, and can be reached by keyboard.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll(".bd-article table")) {
    const box = table.closest(".pst-scrollable-table-container");
    if (box) box.tabIndex = 0;
  }
});
