/** A connection to the Realtime API that comes back: ephemeral keys, the socket, and waiting between tries. */

const FIRST_S = 0.5;
const LONGEST_S = 10;
const FINAL = new Set([1008, 3000, 4000]); // close codes after which another try is of no use

export class Refused extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/**
 * Ask the server over HTTP.
 * @param {string} key an API key, or '' where none is needed
 * @param {FormData | object} body
 */
export const request = async (method, path, key, body) => {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const isJson = body && !(body instanceof FormData);
  if (isJson) headers['Content-Type'] = 'application/json';
  const answer = await fetch(`/v1/${path}`, { method, headers, body: isJson ? JSON.stringify(body) : body });
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw new Refused(told.error?.message ?? `The server answered ${answer.status}.`, answer.status);
};

export const ephemeralKey = async (key) => (await request('POST', 'realtime/client_secrets', key, {})).value;

export class Link {
  /**
   * @param {object} on `event(event)`, `sent(event)`, `lost(seconds)`: until the next try, `ended(why)`
   * @param {() => Promise<string>} key
   */
  constructor(on, key) {
    this.on = on;
    this.key = key;
    this.tries = 0;
    this.socket = null;
    this.wanted = false;
    this.count = 0;
  }

  /** @param {string} model '' for the server's own */
  async open(model = this.model) {
    this.model = model;
    this.wanted = true;
    try {
      const key = await this.key();
      if (this.wanted) this.connect(key);
    } catch (wrong) {
      if (wrong instanceof Refused && wrong.status < 500 && wrong.status !== 429) this.end(wrong);
      else this.retry();
    }
  }

  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    this.socket?.close(1000);
    this.socket = null;
  }

  /** Send an event, unless there is no connection; returns it with its id. */
  send(event) {
    if (this.socket?.readyState !== WebSocket.OPEN) return null;
    this.count += 1;
    const whole = { event_id: `page_${this.count}`, ...event };
    this.socket.send(JSON.stringify(whole));
    this.on.sent(whole);
    return whole;
  }

  connect(key) {
    const url = new URL(`/v1/realtime?model=${encodeURIComponent(this.model || 'vivavoce')}`, location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url, ['realtime', `openai-insecure-api-key.${key}`]);
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === 'session.created') this.tries = 0;
      this.on.event(event);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket !== socket) return;
      this.socket = null;
      if (FINAL.has(code)) this.end(new Refused(reason || `The server closed the session (${code}).`));
      else if (this.wanted) this.retry();
    };
  }

  retry() {
    const seconds = Math.min(LONGEST_S, FIRST_S * 2 ** this.tries) * (0.75 + Math.random() / 2);
    this.tries += 1;
    this.on.lost(seconds);
    this.timer = setTimeout(() => this.wanted && this.open(), seconds * 1000);
  }

  end(wrong) {
    this.wanted = false;
    this.on.ended(wrong);
  }
}
