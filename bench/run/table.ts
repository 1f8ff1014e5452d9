/** A Markdown table whose columns also line up in a terminal. Columns without any value are left out. */
export const formatTable = (headings: readonly string[], rows: readonly (readonly string[])[]): string => {
  const used = headings.flatMap((_, column) => (rows.some((row) => row[column] !== '') ? [column] : []));
  const widths = used.map((column) => Math.max(...[headings, ...rows].map((row) => row[column]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${used.map((column, index) => cells[column]!.padEnd(widths[index]!)).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [line(headings), rule, ...rows.map(line)].join('\n');
};
