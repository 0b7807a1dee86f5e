// Only what Rollup builds without plugins: two modules and the chunk they share.
export default {
  input: ["src/shared-entry.js", "src/worker.js"],
  output: {
    dir: "dist/assets",
    sourcemap: true,
    entryFileNames: "[name]-[hash].js",
    chunkFileNames: "[name]-[hash].js",
  },
};
