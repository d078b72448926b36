/** Reads whole numbers from the options of a script. Prints the usage and ends, if that is asked for, or if one is wrong. */
export const numbersOf = (values: { readonly help?: boolean | undefined }, usage: string) => {
  if (values.help === true) {
    console.log(usage)
    process.exit(0)
  }
  return (name: string, text: string): number => {
    const value = Number(text)
    if (Number.isSafeInteger(value) && value >= 0) return value
    console.error(`--${name} is ${text}; it must be a whole number\n\n${usage}`)
    process.exit(2)
  }
}
