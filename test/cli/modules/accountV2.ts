// a module of a program whose state has a newer schema
export { AccountV2 } from "../../fixtures/Account.js"
