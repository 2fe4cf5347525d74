// Buttons that request a file and download it.
//
// Traits: files [{name, label, hint}]. A click sends {file: name}; the reply has the file name, the
// media type and the content.

export default {
  render({ model, el }) {
    el.classList.add("freqlab-downloads");
    const draw = () => {
      el.replaceChildren(...model.get("files").map(({ name, label, hint }) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "jupyter-button widget-button lm-Widget";
        button.textContent = label;
        button.title = hint;
        button.addEventListener("click", () => model.send({ file: name }));
        return button;
      }));
    };
    const receive = ({ filename, type }, buffers) => {
      const url = URL.createObjectURL(new Blob(buffers, { type }));
      const link = document.createElement("a");
      link.href = url;
      link.download = filename;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60000);
    };
    model.on("change:files", draw);
    model.on("msg:custom", receive);
    draw();
    return () => {
      model.off("change:files", draw);
      model.off("msg:custom", receive);
    };
  },
};
