import MiniCssExtractPlugin from "mini-css-extract-plugin";
import { createRequire } from "node:module";
import { WebpackAssetsManifest } from "webpack-assets-manifest";

const { WebpackManifestPlugin } = createRequire(import.meta.url)("webpack-manifest-plugin");

export default (name) => ({
  mode: "production",
  entry: { main: "./src/main.js" },
  devtool: name === "webpack" && "source-map",
  output: {
    publicPath: "/",
    filename: "[name].[contenthash].js",
    ...(name === "webpack-sha256" && { hashFunction: "sha256" }),
  },
  module: {
    rules: [
      { test: /\.css$/, use: [MiniCssExtractPlugin.loader, "css-loader"] },
      { test: /\.(png|svg|woff2)$/, type: "asset/resource" },
    ],
  },
  plugins: [
    new MiniCssExtractPlugin({ filename: "[name].[contenthash].css" }),
    new WebpackManifestPlugin({ fileName: "asset-manifest.json" }),
    new WebpackManifestPlugin({
      fileName: "cra-manifest.json",
      generate: (seed, files, entrypoints) => ({
        files: Object.fromEntries(files.map((file) => [file.name, file.path])),
        entrypoints: entrypoints.main,
      }),
    }),
    new WebpackAssetsManifest({ output: "assets-manifest.json", entrypoints: true, integrity: true, publicPath: true }),
  ],
});
