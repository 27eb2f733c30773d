/** Small helpers for the page. */

export const $ = (id) => document.getElementById(id);

/** Make an element: `make('li', {className: 'x', hidden: true}, 'text', child)`. */
export const make = (tag, properties = {}, ...children) => {
  const { data, aria, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(`aria-${name}`, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

/** Show text in an element, touching the page only where it differs: a screen reader hears of each change. */
export const show = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

/** Offer a file to keep. */
export const save = (name, text, type = 'application/jsonl') => {
  const link = make('a', { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

export const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, '0')}`;
