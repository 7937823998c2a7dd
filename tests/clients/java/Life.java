import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.intuit.ipp.core.Context;
import com.intuit.ipp.core.IEntity;
import com.intuit.ipp.core.ServiceType;
import com.intuit.ipp.data.CreditMemo;
import com.intuit.ipp.data.Customer;
import com.intuit.ipp.data.EmailStatusEnum;
import com.intuit.ipp.data.EntityStatusEnum;
import com.intuit.ipp.data.IntuitEntity;
import com.intuit.ipp.data.Invoice;
import com.intuit.ipp.data.Item;
import com.intuit.ipp.data.ItemTypeEnum;
import com.intuit.ipp.data.Line;
import com.intuit.ipp.data.LineDetailTypeEnum;
import com.intuit.ipp.data.OperationEnum;
import com.intuit.ipp.data.ReferenceType;
import com.intuit.ipp.data.SalesItemLineDetail;
import com.intuit.ipp.data.SalesTransaction;
import com.intuit.ipp.exception.FMSException;
import com.intuit.ipp.security.OAuth2Authorizer;
import com.intuit.ipp.services.BatchOperation;
import com.intuit.ipp.services.CDCQueryResult;
import com.intuit.ipp.services.DataService;
import com.intuit.ipp.services.QueryResult;
import com.intuit.ipp.util.Config;
import java.io.InputStream;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * A life of Intuit's own SDK against the simulated books: one JSON line for each step. Arguments: "json" or "xml", the
 * addresses of a sandbox, and those of one that takes one request a minute.
 *
 * <p>Its transport drops the port of the base URL, so the simulator stands where a company's HTTP proxy would.
 */
public class Life {
  private static final String BASE_URL = "http://quickbooks.sandbox.test/v3/company";
  private static final ObjectMapper JSON = new ObjectMapper();

  private interface Action<T> {
    T run() throws Exception;
  }

  private final Context context;
  private final DataService service;

  private Life(String format, JsonNode at) throws FMSException {
    String url = at.get("quickbooks_url").asText();
    Config.setProperty(Config.BASE_URL_QBO, BASE_URL);
    Config.setProperty(Config.PROXY_HOST, "127.0.0.1");
    Config.setProperty(Config.PROXY_PORT, url.substring(url.lastIndexOf(':') + 1));
    Config.setProperty(Config.TIMEOUT_REQUEST, "10000");
    Config.setProperty(Config.SERIALIZATION_REQUEST_FORMAT, format);
    Config.setProperty(Config.SERIALIZATION_RESPONSE_FORMAT, format);
    OAuth2Authorizer authorizer = new OAuth2Authorizer(at.get("access_token").asText());
    context = new Context(authorizer, ServiceType.QBO, at.get("realm_id").asText());
    service = new DataService(context);
  }

  public static void main(String[] arguments) throws Exception {
    new Life(arguments[0], JSON.readTree(arguments[1])).live();
    Life narrow = new Life(arguments[0], JSON.readTree(arguments[2]));
    step("call once", () -> narrow.find("select * from Term").size());
    step("call once too often", () -> narrow.find("select * from Term").size());
  }

  private void live() throws Exception {
    step("tell the compression", () -> Config.getProperty(Config.COMPRESSION_REQUEST_FORMAT));
    Customer customer = step("create a customer", () -> service.add(customer("O'Hara & Zoë")), Life::shown);
    step("find the customer", () -> ids(find("select * from Customer where DisplayName = 'O\\'Hara & Zoë'")));
    step("find nobody", () -> find("select * from Customer where DisplayName = 'Nobody\\'s'").size());
    step("create the customer again", () -> service.add(customer("O'Hara & Zoë")).getId());
    Item item = step("create an item", () -> service.add(item("Storage")), Life::shown);

    Invoice priced = invoice(customer, line(item, "7599.42", "140.73", "54.00"));
    priced.setDocNumber("JAVA-1");
    Invoice first = step("create an invoice", () -> service.add(priced), Life::shown);
    step("read the invoice", () -> shown(service.findById(first)));
    step("create an invoice with a wrong amount",
        () -> shown(service.add(invoice(customer, line(item, "1861.07", "128.350", "14.50")))));
    Invoice clash = invoice(customer, line(item, "1", null, null));
    clash.setDocNumber("JAVA-1");
    step("create an invoice with a number in use", () -> shown(service.add(clash)));
    step("create an invoice with a request id", () -> once(customer, item));
    step("repeat the request id", () -> once(customer, item));

    step("update the invoice", () -> shown(service.update(changed(first, "seen"))));
    step("update a stale invoice", () -> shown(service.update(changed(first, "late"))));
    Invoice second = step("create a second invoice",
        () -> service.add(invoice(customer, line(item, "20", null, null))), Life::shown);
    Invoice gone = step("void the invoice", () -> service.voidRequest(second), Life::shown);
    step("delete the invoice", () -> service.delete(gone).getStatus() == EntityStatusEnum.DELETED);
    step("read the deleted invoice", () -> shown(service.findById(second)));
    CreditMemo memo = new CreditMemo();
    sale(memo, customer, line(item, "3", null, null));
    step("create a credit memo", () -> shown(service.add(memo)));

    step("send a batch", () -> batch(customer, item));
    step("ask for changes", this::changes);
    Invoice sent = step("create an invoice to send",
        () -> service.add(invoice(customer, line(item, "9", null, null))), Life::shown);
    step("send the invoice",
        () -> service.sendEmail(sent, "books@example.com").getEmailStatus() == EmailStatusEnum.EMAIL_SENT);
    step("print the invoice", () -> {
      try (InputStream paper = service.downloadPDF(sent)) {
        return new String(paper.readNBytes(5), StandardCharsets.US_ASCII);
      }
    });
    context.setAuthorizer(new OAuth2Authorizer("not-a-token"));
    step("read with a bad token", () -> shown(service.findById(first)));
  }

  private Map<String, Object> once(Customer customer, Item item) throws FMSException {
    context.setRequestID("java-once");
    return shown(service.add(invoice(customer, line(item, "5", null, null))));
  }

  private List<? extends IEntity> find(String query) throws FMSException {
    return service.executeQuery(query).getEntities();
  }

  private Map<String, Object> batch(Customer customer, Item item) throws FMSException {
    BatchOperation batch = new BatchOperation();
    batch.addEntity(invoice(customer, line(item, "12.5", null, null)), OperationEnum.CREATE, "1");
    batch.addEntity(customer(customer.getDisplayName()), OperationEnum.CREATE, "2");
    batch.addQuery("select * from Customer where Id = '" + customer.getId() + "'", "3");
    service.executeBatch(batch);
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("invoice", shown((Invoice) batch.getEntity("1")));
    answer.put("fault", batch.getFault("2").getError().get(0).getCode());
    answer.put("query", ids(batch.getQueryResponse("3").getEntities()));
    return answer;
  }

  private Map<String, List<String>> changes() throws FMSException {
    String since = Instant.now().minus(1, ChronoUnit.HOURS).truncatedTo(ChronoUnit.SECONDS).toString();
    Map<String, List<String>> changed = new LinkedHashMap<>();
    for (CDCQueryResult each : service.executeCDCQuery(List.of(new Invoice(), new Customer()), since)) {
      for (Map.Entry<String, QueryResult> found : each.getQueryResults().entrySet()) {
        changed.put(found.getKey(), ids(found.getValue().getEntities()));
      }
    }
    return changed;
  }

  private static Customer customer(String name) {
    Customer made = new Customer();
    made.setDisplayName(name);
    return made;
  }

  private static Item item(String name) {
    Item made = new Item();
    made.setName(name);
    made.setType(ItemTypeEnum.SERVICE);
    made.setIncomeAccountRef(reference("1"));
    return made;
  }

  private static Invoice invoice(Customer customer, Line... lines) {
    Invoice made = new Invoice();
    sale(made, customer, lines);
    return made;
  }

  private static void sale(SalesTransaction sale, Customer customer, Line... lines) {
    sale.setCustomerRef(reference(customer.getId()));
    sale.setLine(List.of(lines));
  }

  private static Line line(Item item, String amount, String quantity, String unitPrice) {
    SalesItemLineDetail detail = new SalesItemLineDetail();
    detail.setItemRef(reference(item.getId()));
    if (quantity != null) {
      detail.setQty(new BigDecimal(quantity));
      detail.setUnitPrice(new BigDecimal(unitPrice));
    }
    Line made = new Line();
    made.setAmount(new BigDecimal(amount));
    made.setDetailType(LineDetailTypeEnum.SALES_ITEM_LINE_DETAIL);
    made.setSalesItemLineDetail(detail);
    return made;
  }

  private static ReferenceType reference(String id) {
    ReferenceType made = new ReferenceType();
    made.setValue(id);
    return made;
  }

  private static Invoice changed(Invoice invoice, String note) {
    Invoice made = new Invoice();
    made.setId(invoice.getId());
    made.setSyncToken(invoice.getSyncToken());
    made.setSparse(true);
    made.setPrivateNote(note);
    return made;
  }

  private static Map<String, Object> shown(Customer customer) {
    Map<String, Object> shown = new LinkedHashMap<>();
    shown.put("Id", customer.getId());
    shown.put("SyncToken", customer.getSyncToken());
    shown.put("DisplayName", customer.getDisplayName());
    return shown;
  }

  private static Map<String, Object> shown(Item item) {
    Map<String, Object> shown = new LinkedHashMap<>();
    shown.put("Id", item.getId());
    shown.put("Name", item.getName());
    return shown;
  }

  private static Map<String, Object> shown(SalesTransaction sale) {
    Map<String, Object> shown = new LinkedHashMap<>();
    shown.put("Id", sale.getId());
    shown.put("SyncToken", sale.getSyncToken());
    shown.put("DocNumber", sale.getDocNumber());
    shown.put("PrivateNote", sale.getPrivateNote());
    shown.put("TotalAmt", sale.getTotalAmt());
    shown.put("lines", sale.getLine() == null ? 0 : sale.getLine().size());
    return shown;
  }

  private static List<String> ids(List<? extends IEntity> entities) {
    List<String> ids = new ArrayList<>();
    for (IEntity each : entities) {
      ids.add(((IntuitEntity) each).getId());
    }
    return ids;
  }

  private static void step(String name, Action<?> action) {
    step(name, action::run, gave -> gave);
  }

  private static <T> T step(String name, Action<T> action, Function<T, Object> show) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("step", name);
    T gave = null;
    try {
      gave = action.run();
      line.put("gave", show.apply(gave));
    } catch (Exception refusal) {
      line.put("threw", described(refusal));
    }
    try {
      System.out.println(JSON.writeValueAsString(line));
    } catch (JsonProcessingException impossible) {
      throw new IllegalStateException(impossible);
    }
    return gave;
  }

  private static Map<String, Object> described(Exception refusal) {
    Map<String, Object> described = new LinkedHashMap<>();
    described.put("class", refusal.getClass().getSimpleName());
    described.put("message", String.valueOf(refusal.getMessage()));
    if (refusal instanceof FMSException fault && fault.getErrorList() != null && !fault.getErrorList().isEmpty()) {
      described.put("code", fault.getErrorList().get(0).getCode());
      described.put("detail", fault.getErrorList().get(0).getDetail());
    }
    return described;
  }
}
