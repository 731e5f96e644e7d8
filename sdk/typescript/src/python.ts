/**
 * What Python prints for the parsed body, as {'event': 'conversation', 'data': '{"id": 1}'}: the message
 * that the documentation's reference code signs when it is run on a parsed dict. Undefined for a body
 * that is no object whose members are all texts with different names, or whose print is not ASCII.
 */
export function pythonRepr(body: string): string | undefined {
  try {
    JSON.parse(body);
  } catch {
    return undefined;
  }
  const printed: string[] = [];
  const names = new Set<unknown>();
  const member = /[\s{,]*("(?:[^"\\]|\\.)*")\s*:\s*("(?:[^"\\]|\\.)*")\s*/y;
  const start = body.search(/\S/);
  if (body[start] !== "{") return undefined;
  member.lastIndex = start;
  let end = start + 1;
  for (let match = member.exec(body); match !== null; match = member.exec(body)) {
    const name = JSON.parse(match[1]!) as string;
    if (names.has(name)) return undefined;
    names.add(name);
    printed.push(`${repr(name)}: ${repr(JSON.parse(match[2]!) as string)}`);
    end = member.lastIndex;
  }
  const whole = `{${printed.join(", ")}}`;
  return /^\s*\}\s*$/.test(body.slice(end)) && /^[\x00-\x7f]*$/.test(whole) ? whole : undefined;
}

const short: Record<string, string> = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };

function repr(value: string): string {
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  let out = quote;
  for (const c of value) {
    const code = c.codePointAt(0)!;
    if (c === quote || c === "\\") out += "\\" + c;
    else if (code >= 0x20 && code < 0x7f) out += c;
    else if (short[c] !== undefined) out += short[c];
    else if (!/[\p{C}\p{Z}]/u.test(c)) out += c;
    else if (code <= 0xff) out += "\\x" + hex(code, 2);
    else if (code <= 0xffff) out += "\\u" + hex(code, 4);
    else out += "\\U" + hex(code, 8);
  }
  return out + quote;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}
