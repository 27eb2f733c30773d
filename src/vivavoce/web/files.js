/** Files and vector stores of the server: drop files, watch them being indexed, search, delete. */

import { $, make, show } from './dom.js';
import { request } from './link.js';

const POLL_MS = 1000;

export class Files {
  /** @param {(use: (key: string) => Promise) => Promise} withKey gives an API key, '' where none is needed */
  constructor(withKey) {
    this.withKey = withKey;
    this.names = new Map();
    $('store').addEventListener('change', () => this.list());
    $('upload').addEventListener('change', ({ target }) => {
      this.add([...target.files]);
      target.value = '';
    });
    const drop = $('drop');
    for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) {
      drop.addEventListener(type, (event) => {
        event.preventDefault();
        drop.classList.toggle('over', type === 'dragenter' || type === 'dragover');
        if (type === 'drop') this.add([...event.dataTransfer.files]);
      });
    }
    $('search').addEventListener('submit', (event) => {
      event.preventDefault();
      this.try(() => this.search($('query').value));
    });
  }

  /** @param {boolean} seen whether the drawer is open */
  show(seen) {
    this.seen = seen;
    if (seen) this.open();
  }

  ask(method, path, body) {
    return this.withKey((key) => request(method, path, key, body));
  }

  async try(work) {
    try {
      show($('files-note'), '');
      await work();
    } catch (wrong) {
      const absent = wrong.status === 404 && $('library').hidden; // it has never been seen
      show($('files-note'), absent ? 'This server keeps no files.' : wrong.message);
    }
  }

  open() {
    return this.try(async () => {
      const { data } = await this.ask('GET', 'vector_stores?limit=100');
      $('library').hidden = false;
      const chosen = $('store').value;
      $('store').replaceChildren(
        ...data.map(({ id, name }) => make('option', { value: id }, name || id)),
        ...(data.length ? [] : [make('option', { value: '' }, 'console')]),
      );
      if (chosen) $('store').value = chosen;
      await this.list();
    });
  }

  async list() {
    clearTimeout(this.timer);
    const store = $('store').value;
    if (!store) return;
    const { data } = await this.ask('GET', `vector_stores/${store}/files?limit=100`);
    await this.learnNames(data);
    const busy = data.filter(({ status }) => status === 'in_progress').length;
    show($('files-note'), busy ? `${data.length - busy} of ${data.length} files can be found` : '');
    $('documents').replaceChildren(...data.map((file) => this.row(store, file)));
    if (busy && this.seen) this.timer = setTimeout(() => this.try(() => this.list()), POLL_MS);
  }

  async learnNames(files) {
    if (files.every(({ id }) => this.names.has(id))) return;
    const { data } = await this.ask('GET', 'files');
    for (const { id, filename } of data) this.names.set(id, filename);
  }

  row(store, { id, status, last_error: wrong, usage_bytes: bytes }) {
    const name = this.names.get(id) ?? id;
    const state = { completed: size(bytes ?? 0), failed: wrong?.message ?? 'failed', cancelled: 'cancelled' }[status];
    const remove = make('button', { type: 'button', aria: { label: `Delete ${name}` } }, '×');
    remove.addEventListener('click', () =>
      this.try(async () => {
        await this.ask('DELETE', `vector_stores/${store}/files/${id}`);
        await this.ask('DELETE', `files/${id}`);
        await this.list();
      }),
    );
    const told = state === undefined ? make('progress', { aria: { label: `${name} is being indexed` } }) : make('small', {}, state);
    return make('li', { data: { status } }, make('span', {}, name), told, remove);
  }

  add(files) {
    return this.try(async () => {
      let store = $('store').value;
      if (!store) {
        ({ id: store } = await this.ask('POST', 'vector_stores', { name: 'console' }));
        $('store').replaceChildren(make('option', { value: store }, 'console'));
      }
      for (const [i, file] of files.entries()) {
        show($('files-note'), `Sending ${file.name} (${i + 1} of ${files.length})`);
        const form = new FormData();
        form.append('purpose', 'assistants');
        form.append('file', file);
        const { id } = await this.ask('POST', 'files', form);
        this.names.set(id, file.name);
        await this.ask('POST', `vector_stores/${store}/files`, { file_id: id });
        await this.list();
      }
    });
  }

  async search(query) {
    const store = $('store').value;
    const { data } = store ? await this.ask('POST', `vector_stores/${store}/search`, { query }) : { data: [] };
    $('found').replaceChildren(
      ...data.map(({ filename, score, content }) =>
        make('li', {}, make('b', {}, filename), make('small', {}, score.toFixed(2)), make('p', {}, content[0]?.text ?? '')),
      ),
    );
    if (!data.length) show($('files-note'), 'Nothing was found.');
  }
}

const size = (bytes) => {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
};
