/**
 * Headers as servers hand them out: a `Headers`, an object of names in any case to texts or lists,
 * pairs of name and value, a `Map`, Node's `rawHeaders`, or a serverless event that holds them as `headers` or `multiValueHeaders`.
 */
export type HeaderSource =
  | { get(name: string): string | null | undefined }
  | Iterable<readonly [string, string | readonly string[] | undefined]>
  | Readonly<Record<string, unknown>>
  | readonly string[];

/** Gives the first value of a header by its name in lower case. */
export type Getter = (name: string) => string | undefined;

/** Makes a getter of headers. What holds none has none: a stranger's request cannot make verification stumble. */
export function reader(source: unknown): Getter {
  if (typeof source !== "object" || source === null) return () => undefined;
  if (typeof Headers !== "undefined" && source instanceof Headers) return (name) => source.get(name) ?? undefined;
  const collected = new Map<string, string>();
  for (const [name, value] of pairs(source)) {
    const key = String(name).toLowerCase();
    const first: unknown = Array.isArray(value) ? value[0] : value;
    if (!collected.has(key) && first !== undefined && first !== null) collected.set(key, text(first));
  }
  return (name) => collected.get(name);
}

function pairs(source: object): Iterable<readonly [unknown, unknown]> {
  if (Symbol.iterator in source) {
    const list = [...(source as Iterable<unknown>)];
    if (list.length > 0 && list.every((item) => typeof item === "string")) {
      return list.flatMap((name, i) => (i % 2 === 0 ? [[name, list[i + 1]] as const] : []));
    }
    return list.filter((item): item is [unknown, unknown] => Array.isArray(item) && item.length === 2 && typeof item[0] === "string");
  }
  const record = source as Record<string, unknown>;
  const inner = [record["headers"], record["multiValueHeaders"]].filter((part) => typeof part === "object" && part !== null && !Array.isArray(part));
  return inner.length > 0 ? inner.flatMap((part) => [...entries(part as object)]) : entries(source);
}

/** The pairs of an object, or of one that is like `Headers` without being this realm's. */
function entries(source: object): Iterable<readonly [unknown, unknown]> {
  return Symbol.iterator in source ? pairs(source) : Object.entries(source);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}
