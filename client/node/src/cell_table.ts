import {Cell} from './cell.js';
import type {Surroundings} from './cell.js';

/**
 * The cells of a service by name. Maps within maps, so that finding one takes no new string.
 */
export class CellTable {
  private readonly services = new Map<string, Map<string, Cell>>();
  private count = 0;

  constructor(private readonly most: number, private readonly around: Surroundings) {}

  get size(): number {
    return this.count;
  }

  find(service: string, operation: string): Cell | undefined {
    return this.services.get(service)?.get(operation);
  }

  /** Undefined if there is none and as many as there may be. */
  findOrCreate(service: string, operation: string): Cell | undefined {
    let operations = this.services.get(service);
    let cell = operations?.get(operation);
    if (cell !== undefined || this.count >= this.most) return cell;
    if (operations === undefined) this.services.set(service, operations = new Map());
    cell = new Cell(service, operation, this.around);
    operations.set(operation, cell);
    ++this.count;
    return cell;
  }

  * [Symbol.iterator](): Iterator<Cell> {
    for (const operations of this.services.values()) yield* operations.values();
  }
}
