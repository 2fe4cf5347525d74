// Pictures in a row, each with a caption and an alternative text.
//
// Traits: originals and edits, lists of {png: bytes, caption, alt}. Where there is no picture, png is
// empty, and alt is written in its place.

function show(image, { png, alt }) {
  const url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
  image.onload = image.onerror = () => URL.revokeObjectURL(url);
  image.alt = alt;
  image.src = url;
}

function fill(row, pictures) {
  while (row.children.length > pictures.length) row.lastChild.remove();
  while (row.children.length < pictures.length) {
    const figure = document.createElement("figure");
    const none = document.createElement("div");
    none.className = "none";
    figure.append(document.createElement("figcaption"), document.createElement("img"), none);
    row.append(figure);
  }
  pictures.forEach((picture, k) => {
    const [caption, image, none] = row.children[k].children;
    const shown = picture.png.byteLength > 0;
    caption.textContent = picture.caption;
    image.hidden = !shown;
    none.hidden = shown;
    none.textContent = shown ? "" : picture.alt;
    if (shown) show(image, picture);
    else image.removeAttribute("src");
  });
}

export default {
  render({ model, el }) {
    el.classList.add("freqlab-pictures");
    const off = ["originals", "edits"].map((name) => {
      const row = document.createElement("div");
      row.className = name;
      el.append(row);
      const draw = () => fill(row, model.get(name));
      model.on(`change:${name}`, draw);
      draw();
      return () => model.off(`change:${name}`, draw);
    });
    return () => off.forEach((stop) => stop());
  },
};
