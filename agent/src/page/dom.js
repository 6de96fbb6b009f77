// The few things the views do to the document. Data only ever becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a child is a node or text. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Sets text, and touches the document only on a change. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Sets or, for null, removes an attribute, only on a change. */
export function attr(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

/** Shows text in which `backticks` mark what is typed or read verbatim. */
export function prose(node, value) {
  if (node.dataset.prose === value) return;
  node.dataset.prose = value;
  const parts = value.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
  node.replaceChildren(...parts);
}

/** The shape of a health; `set` changes it. */
export function shape(health) {
  const use = svg("use", { href: `#shape-${health}` });
  const node = svg("svg", { class: "shape", "aria-hidden": "true" }, use);
  return { node, set: (next) => attr(use, "href", `#shape-${next}`) };
}

/**
 * A list whose children follow items by key: existing nodes stay where focus and selection are.
 * `make(item)` returns `{node, update(item)}`.
 */
export function keyed(parent, keyOf, make) {
  let rows = new Map();
  return {
    get: (key) => rows.get(key),
    values: () => rows.values(),
    set(items) {
      const next = new Map();
      for (const item of items) {
        const key = keyOf(item);
        const row = rows.get(key) ?? make(item);
        row.update(item);
        next.set(key, row);
      }
      for (const [key, row] of rows) if (!next.has(key)) row.node.remove();
      rows = next;
      let at = parent.firstChild;
      for (const { node } of rows.values()) {
        if (node === at) at = at.nextSibling;
        else parent.insertBefore(node, at);
      }
    },
  };
}
