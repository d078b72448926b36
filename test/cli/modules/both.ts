// a module with an aggregate that has personal data, and one that has none
export { Account } from "../../fixtures/Account.js"
export { Customer } from "../../fixtures/Customer.js"
