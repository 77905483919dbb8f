// Keeps what Ask the page has loaded, for when there is no network. It lies at the site's top,
// since a service worker reaches no further than its own folder.
"use strict";

const CACHE = "ask-the-page";

/** Whether an address carries the hash of what it gives, and so never changes. */
const hashed = (url) => /\?[0-9a-f]{12}$/.test(url);

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** Keep addresses, drop what came before under another hash, and say when it is done. */
const keep = async (urls, port) => {
  const cache = await caches.open(CACHE);
  for (const old of await cache.keys()) {
    const [bare] = old.url.split("?");
    const newer = urls.some((url) => hashed(url) && url !== old.url && url.split("?")[0] === bare);
    if (hashed(old.url) && newer) await cache.delete(old);
  }
  for (const url of urls) {
    if (hashed(url) && await cache.match(url)) continue;
    const reply = await fetch(url);
    if (reply.ok) await cache.put(url, reply);
  }
  port.postMessage("kept");
};

self.addEventListener("message", (event) => event.waitUntil(keep(event.data, event.ports[0])));

/** What never changes comes from the cache; the rest from the network, if there is one. */
const answer = async (request) => {
  const cache = await caches.open(CACHE);
  if (hashed(request.url)) return (await cache.match(request)) ?? fetch(request);
  try {
    return await fetch(request);
  } catch (error) {
    const found = await cache.match(request, { ignoreSearch: true });
    if (found) return found;
    throw error;
  }
};

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(self.registration.scope)) {
    event.respondWith(answer(event.request));
  }
});
