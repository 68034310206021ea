// Small helpers to fill pages; text is always set as text, never as markup.
export function make(tag, properties = {}, ...children) {
  const found = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") found.className = value;
    else if (value !== null && value !== undefined) found.setAttribute(key, value);
  }
  found.append(...children.filter((each) => each !== null && each !== undefined));
  return found;
}

export function fill(id, ...children) {
  document.getElementById(id).replaceChildren(...children);
}

// pairs: [title, value, small print or undefined]
export function figures(id, pairs) {
  fill(id, ...pairs.map(([title, value, small]) =>
    make("div", {}, make("dt", {}, title), make("dd", {}, value, small ? make("small", {}, small) : null))));
}

export function table(id, heads, rows) {
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) =>
    make(tag, {}, cell === null || cell === undefined ? "–" : cell)));
  fill(id, make("thead", {}, line("th", heads)), make("tbody", {}, ...rows.map((row) => line("td", row))));
}

export function number(value, digits = 4) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

export function count(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en");
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} d`;
}

export function trial(studyId, found) {
  return make("a", { href: `/dashboard/studies/${studyId}/trials?numbers=${found}` }, `trial ${found}`);
}
