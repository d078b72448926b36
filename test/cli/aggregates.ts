// a module as a user gives it to the command line
export { Account } from "../fixtures/Account.js"
