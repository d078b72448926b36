// a module with personal data, as a user gives it to the command line
export { Customer } from "../../fixtures/Customer.js"
