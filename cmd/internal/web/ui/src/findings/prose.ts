// A manual page as blocks: headings, paragraphs, lists and code. It reads what
// `heapwright explain` prints, and the same as Markdown. Pure.

export type Block = { kind: "heading" | "paragraph" | "code"; text: string } | { kind: "list"; items: string[] };

export function blocks(page: string): Block[] {
  const out: Block[] = [];
  let text: string[] = [], items: string[] | null = null, code: string[] | null = null;
  const flush = () => {
    if (text.length) out.push({ kind: "paragraph", text: text.join(" ") });
    if (items) out.push({ kind: "list", items });
    text = [];
    items = null;
  };
  const lines = page.split("\n");
  lines.forEach((raw, i) => {
    const line = raw.trim(), item = /^[-*•]\s+(.*)$/.exec(line), head = /^#{1,6}\s+(.*)$/.exec(line);
    if (line.startsWith("```")) {
      if (code) out.push({ kind: "code", text: code.join("\n") });
      else flush();
      code = code ? null : [];
      return;
    }
    if (code) {
      code.push(raw);
      return;
    }
    if (line === "") flush();
    else if (head) {
      flush();
      out.push({ kind: "heading", text: head[1]! });
    } else if (item) {
      if (!items) flush();
      (items ??= []).push(item[1]!);
    } else if (items) items[items.length - 1] += " " + line;
    // A line at the margin over one that is indented is a heading.
    else if (!/^\s/.test(raw) && /^\s{2,}\S/.test(lines[i + 1] ?? "")) {
      flush();
      out.push({ kind: "heading", text: line });
    } else text.push(line);
  });
  if (code) out.push({ kind: "code", text: (code as string[]).join("\n") });
  flush();
  return out;
}

/** spans cuts text into plain parts, `code` and **strong** ones. */
export function spans(text: string): { text: string; kind: "" | "code" | "strong" }[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).filter(Boolean).map((s) =>
    s.startsWith("`") && s.length > 2 ? { text: s.slice(1, -1), kind: "code" } : s.startsWith("**") && s.length > 4 ? { text: s.slice(2, -2), kind: "strong" } : { text: s, kind: "" });
}
