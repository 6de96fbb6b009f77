// The official Java client of Apache IoTDB as a peer of `cargo xtask bench iotdb`. Run as
//   java -cp "LIB/*" IotdbInsert.java PORT
// Requests and answers are those of agent/sinks/iotdb/examples/insert.rs. Tablets are made before
// they are timed; a cycle of several devices is one insertAlignedTablets.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.iotdb.session.Session;
import org.apache.tsfile.enums.TSDataType;
import org.apache.tsfile.write.record.Tablet;
import org.apache.tsfile.write.schema.IMeasurementSchema;
import org.apache.tsfile.write.schema.MeasurementSchema;

public class IotdbInsert {
  static final TSDataType[] TYPES = {
    TSDataType.FLOAT, TSDataType.DOUBLE, TSDataType.INT32, TSDataType.INT64, TSDataType.BOOLEAN
  };

  public static void main(String[] args) throws Exception {
    Session session = new Session("127.0.0.1", Integer.parseInt(args[0]), "root", "root");
    session.open(false);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    List<Map<String, Tablet>> cycles = new ArrayList<>();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ");
      if (words[0].equals("build")) {
        cycles = build(words);
        System.out.println("built");
      } else {
        long started = System.nanoTime();
        for (Map<String, Tablet> cycle : cycles) {
          if (cycle.size() == 1) {
            session.insertAlignedTablet(cycle.values().iterator().next(), true);
          } else {
            session.insertAlignedTablets(cycle, true);
          }
        }
        System.out.println("done " + (System.nanoTime() - started) / 1e9);
        cycles = new ArrayList<>();
      }
    }
    session.close();
  }

  static List<Map<String, Tablet>> build(String[] words) {
    String path = words[1];
    int devices = Integer.parseInt(words[2]);
    int points = Integer.parseInt(words[3]);
    int rows = Integer.parseInt(words[4]);
    boolean quality = words[5].equals("1");
    int count = Integer.parseInt(words[6]);
    long first = Long.parseLong(words[7]);
    List<IMeasurementSchema> schemas = new ArrayList<>();
    for (int p = 0; p < points; p++) {
      schemas.add(new MeasurementSchema("p" + p, TYPES[p % 5]));
      if (quality) {
        schemas.add(new MeasurementSchema("p" + p + "_q", TSDataType.INT32));
      }
    }
    List<Map<String, Tablet>> cycles = new ArrayList<>();
    for (int c = 0; c < count; c++) {
      Map<String, Tablet> cycle = new LinkedHashMap<>();
      for (int d = 0; d < devices; d++) {
        Tablet tablet = new Tablet(path + ".d" + d, schemas, rows);
        for (int r = 0; r < rows; r++) {
          long time = first + (long) c * rows + r;
          tablet.addTimestamp(r, time);
          int column = 0;
          for (int p = 0; p < points; p++) {
            put(tablet, r, column++, p, time);
            if (quality) {
              tablet.addValue(r, column++, 0);
            }
          }
        }
        cycle.put(path + ".d" + d, tablet);
      }
      cycles.add(cycle);
    }
    return cycles;
  }

  // The same in every peer.
  static void put(Tablet tablet, int row, int column, int point, long time) {
    long number = (time * 31 + point * 7L) % 1000;
    switch (point % 5) {
      case 0:
        tablet.addValue(row, column, number / 10.0f);
        break;
      case 1:
        tablet.addValue(row, column, number / 10.0);
        break;
      case 2:
        tablet.addValue(row, column, (int) number);
        break;
      case 3:
        tablet.addValue(row, column, number * 1_000_000);
        break;
      default:
        tablet.addValue(row, column, number % 2 == 1);
    }
  }
}
