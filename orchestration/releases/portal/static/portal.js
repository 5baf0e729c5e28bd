// Makes the codebook searchable. Without it the page is a plain list.
const columns = [...document.querySelectorAll("ul.columns > li")];
const sections = [...document.querySelectorAll("section.codes")];
const wanted = document.getElementById("wanted");
const found = document.getElementById("found");
const texts = columns.map((column) => `${column.id} ${column.textContent}`.toLowerCase());

function search() {
  const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  columns.forEach((column, place) => {
    column.hidden = !words.every((word) => texts[place].includes(word));
    shown += !column.hidden;
  });
  for (const section of sections) {
    section.hidden = !section.querySelector("ul.columns > li:not([hidden])");
  }
  found.textContent = words.length ? found.dataset.said.replace("##", columns.length).replace("#", shown) : "";
}

document.getElementById("search").hidden = false;
wanted.addEventListener("input", search);
