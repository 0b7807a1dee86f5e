// node webpack.js NAME: build the site as NAME says, and write webpack's own statistics too.
import { writeFileSync } from "node:fs";
import webpack from "webpack";
import configuration from "./webpack.config.js";

webpack(configuration(process.argv[2]), (error, stats) => {
  if (error || stats.hasErrors()) {
    console.error(error ?? stats.toString());
    process.exit(1);
  }
  writeFileSync("dist/stats.json", JSON.stringify(stats.toJson({ all: false, assets: true, entrypoints: true })));
});
