import tseslint from "typescript-eslint"

export default tseslint.config(
  {
    ignores: [
      "dist",
      "node_modules",
      "test/.generated",
      "test/.generated-*",
      "docs/api",
      "test/.planted",
      "test/.build",
      "bench/results"
    ]
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.base],
    rules: {
      "@typescript-eslint/array-type": ["error", { default: "generic", readonly: "generic" }],
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "off",
      "no-constant-condition": ["error", { checkLoops: false }],
      "no-debugger": "error",
      "no-unreachable": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
      eqeqeq: "error"
    }
  },
  {
    files: ["src/**/*.ts"],
    rules: {
      "no-console": "error",
      "max-lines": ["error", 420],
      "max-lines-per-function": ["error", { max: 80, IIFEs: true }],
      // a consumer's bundler should not have to shake the barrel
      "no-restricted-imports": ["error", {
        paths: [
          "effect",
          "@effect/sql",
          "@effect/platform",
          "@effect/sql-pg",
          "@effect/sql-sqlite-node",
          "better-sqlite3"
        ],
        patterns: ["@effect/sql-pg/*", "@effect/sql-sqlite-node/*"]
      }],
      "no-restricted-syntax": ["error", {
        selector: "CallExpression[callee.property.name='push'] > SpreadElement",
        message: "a long list overflows the stack: push in a loop"
      }]
    }
  },
  {
    // a flat list of promises
    files: ["src/testing/EventStoreContract.ts"],
    rules: { "max-lines": "off", "max-lines-per-function": "off" }
  }
)
