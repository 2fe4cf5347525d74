// Pictures in a row, each with a caption and an alternative text.
//
// Traits: originals, edited and details, lists of {png: bytes, caption, alt}. Where there is no
// picture, png is empty, and alt is written in its place.

// A data address, which loads at once; an object address is fetched through another process.
function show(image, { png, alt }) {
  const bytes = new Uint8Array(png.buffer, png.byteOffset, png.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  image.alt = alt;
  image.src = `data:image/png;base64,${btoa(text)}`;
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
    const off = ["originals", "edited", "details"].map((name) => {
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
