// What htmx does not do: the drop zone, options that depend on others, copying.

const drop = document.getElementById("drop");
if (drop) {
  const input = document.getElementById("file");
  const choose = (over) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", over);
  };
  drop.addEventListener("dragover", choose(true));
  drop.addEventListener("dragleave", choose(false));
  // Without this, a file dropped beside the zone would replace the page.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer?.files.length) {
      input.files = event.dataTransfer.files;
      input.dispatchEvent(new CustomEvent("change", { bubbles: true, detail: "dropped" }));
    }
  });
  const show = () => {
    const file = input.files[0];
    drop.classList.toggle("chosen", Boolean(file));
    document.getElementById("drop-title").textContent = file
      ? file.name
      : "Drop a CSV or Excel file here";
    document.getElementById("drop-hint").textContent = file
      ? "Choose another file"
      : "or choose one. It needs a column with image URLs.";
  };
  input.addEventListener("change", show);
  show();

  // A browser reports no change if the same file is chosen again, even if it was corrected in the
  // meantime. So the field is emptied first, and filled again if the person cancels.
  let kept = input.files;
  input.addEventListener("click", () => {
    kept = input.files;
    input.value = "";
  });
  input.addEventListener("cancel", () => {
    input.files = kept;
    show();
  });

  // On a file field, Enter would send the form; only the space bar would open the chooser.
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    input.click();
  });

  // Options that the chosen mode does not take are not sent.
  const adapt = () => {
    const mode = document.querySelector("input[name=mode]:checked")?.value;
    for (const field of document.querySelectorAll(".field[data-modes]")) {
      const modes = field.dataset.modes;
      const fits = !modes || modes.split(" ").includes(mode);
      field.hidden = !fits;
      for (const control of field.querySelectorAll("input, select")) control.disabled = !fits;
    }
  };
  for (const radio of document.querySelectorAll("input[name=mode]")) {
    radio.addEventListener("change", adapt);
  }
  adapt();

  // Another file empties the fields that were set for the one before.
  const again = () => htmx.trigger(input, "change", { again: true });
  input.addEventListener("change", (event) => {
    if (event.detail?.again) return;
    for (const name of ["columns", "on_error"]) document.getElementById(name).value = "";
  }, { capture: true });
  document.addEventListener("click", (event) => {
    const set = event.target.closest("[data-set-field]");
    if (set) document.getElementById(set.dataset.setField).value = set.dataset.setValue;
    else if (event.target.closest("[data-map-columns]")) {
      document.getElementById("columns").value = mapping();
    } else return;
    again();
  });
  function mapping() {
    const chosen = (role) => JSON.parse(document.querySelector(`select[data-role=${role}]`).value);
    const ticked = [...document.querySelectorAll("[data-role=images] input:checked")];
    const images = ticked.map((box) => JSON.parse(box.value));
    return JSON.stringify({ key: chosen("key"), name: chosen("name"), images });
  }
  document.body.addEventListener("htmx:afterSwap", () => {
    const mapped = document.getElementById("columns").value !== "";
    for (const place of document.querySelectorAll("[data-if-mapped]")) place.hidden = !mapped;
  });

  const preset = document.querySelector("select#preset");
  preset?.addEventListener("change", () => {
    for (const rules of document.querySelectorAll("[data-preset]")) {
      rules.hidden = rules.dataset.preset !== preset.value;
    }
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
});

const search = document.getElementById("docs-search");
search?.addEventListener("input", () => {
  const wanted = search.value.trim().toLowerCase();
  for (const entry of document.querySelectorAll("[data-search]")) {
    entry.hidden = wanted !== "" && !entry.textContent.toLowerCase().includes(wanted);
  }
});

// htmx shows nothing if the service cannot be reached or answers with an error.
document.body.addEventListener("htmx:responseError", (event) => {
  tell(`The service answered ${event.detail.xhr.status}. Reload the page and try again.`);
});
document.body.addEventListener("htmx:sendError", async () => {
  const file = document.getElementById("file")?.files[0];
  const readable = !file || (await file.slice(0, 1).arrayBuffer().then(() => true, () => false));
  tell(
    readable
      ? "The service cannot be reached. Try again."
      : "The file was changed after you chose it. Choose it again.",
  );
});

function tell(text) {
  const place = document.getElementById("message") ?? document.getElementById("answer");
  if (!place) return;
  const notice = document.createElement("p");
  notice.className = "notice bad";
  notice.setAttribute("role", "alert");
  notice.textContent = text;
  place.replaceChildren(notice);
}

// The money that the whole file would save, at the price and with the visitors typed in.
function reckon() {
  const price = document.querySelector("[data-price]");
  if (!price) return;
  const visitors = Number(document.querySelector("[data-visitors]").value);
  const gigabytes = (Number(price.dataset.saved) / 1e9) * visitors;
  const money = gigabytes * Number(price.value);
  document.querySelector("[data-money]").textContent = money.toLocaleString("en", {
    maximumFractionDigits: 2,
  });
}
document.addEventListener("input", reckon);
document.body.addEventListener("htmx:load", reckon);
reckon();
