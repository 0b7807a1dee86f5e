// As Angular calls it: capitals behind a dash, chunks beside their entries.
import { writeFileSync } from "node:fs";
import { build } from "esbuild";

const { metafile } = await build({
  entryPoints: ["src/main.js", "src/worker.js"],
  bundle: true,
  splitting: true,
  minify: true,
  sourcemap: true,
  format: "esm",
  metafile: true,
  outdir: "dist",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "media/[name]-[hash]",
  loader: { ".png": "file", ".svg": "file", ".woff2": "file" },
});
writeFileSync("dist/meta.json", JSON.stringify(metafile));
