export default { logLevel: "warn", build: { manifest: true, sourcemap: true, assetsInlineLimit: 0 } };
