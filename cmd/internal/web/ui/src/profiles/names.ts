// Names of Go functions, cut so that they fit.

/** A Name in parts: github.com/a/b/server.(*client).readLoop. */
export interface Name {
  path: string; // github.com/a/b/server
  pkg: string; // server
  func: string; // (*client).readLoop
}

/** split takes a function's name apart. What is no such name is all func. */
export function split(name: string): Name {
  // Type parameters may hold paths of their own.
  const bracket = name.indexOf("[");
  const head = bracket < 0 ? name : name.slice(0, bracket);
  const slash = head.lastIndexOf("/");
  const dot = head.indexOf(".", slash + 1);
  if (dot < 0 || dot === slash + 1) return { path: "", pkg: "", func: name };
  const path = name.slice(0, dot);
  // Of a major version the name of the package is before it: .../server/v2.
  const elements = path.split("/");
  let pkg = elements.pop()!;
  if (/^v\d+$/.test(pkg) && elements.length > 1) pkg = elements.pop()!;
  return { path, pkg, func: name.slice(dot + 1) };
}

/** short is a name without the path of its package. */
export function short(name: string): string {
  const n = split(name);
  return n.pkg === "" ? n.func : n.pkg + "." + n.func;
}

/** fit cuts a name to so many characters: first the path goes, then the package, then the end. */
export function fit(name: string, chars: number): string {
  if (chars < 2) return "";
  const n = split(name);
  const pkg = n.pkg === "" ? n.func : n.pkg + "." + n.func;
  if (pkg.length <= chars) return pkg;
  if (n.func.length <= chars) return n.func;
  return n.func.slice(0, chars - 1) + "…";
}

/** fromRuntime reports whether a function is the runtime's own. */
export function fromRuntime(name: string): boolean {
  const { path } = split(name);
  return path === "runtime" || path.startsWith("runtime/") || path.startsWith("internal/runtime/");
}
