import time
import tests.spark.test_classifications as tc
from tests.spark.conftest import spark, house
from spark_jobs import merges, classifications, batch, tables
def wrap(mod,name,log):
    f=getattr(mod,name)
    def g(*a,**k):
        t=time.time(); c=cpu()
        try: return f(*a,**k)
        finally: log.append((name,round(time.time()-t,2),round(cpu()-c,2)))
    setattr(mod,name,g)
import psutil
def cpu():
    p=psutil.Process(); return sum(sum(c.cpu_times()[:2]) for c in [p,*p.children(recursive=True)])
def test_prof(house, capsys):
    log=[]
    for m,n in [(classifications,'_merge'),(batch,'append_log')]: wrap(m,n,log)
    i=0
    for conf in [{}, {"spark.sql.codegen.wholeStage":"false"},{"spark.sql.codegen.wholeStage":"false","spark.sql.codegen.factoryMode":"NO_CODEGEN"},{"spark.databricks.delta.merge.materializeSource":"none"},{"spark.sql.adaptive.enabled":"false"},{}]:
        for k,v in conf.items(): house.spark.conf.set(k,v)
        for _ in range(4):
            i+=1
            tc.classify(house,i,[tc.news(f"a/{i}"),tc.news("a/b")],scope=("a",i%2==0))
            t=time.time(); c=cpu(); log.clear(); house.ingest()
            with capsys.disabled(): print(conf, i, round(time.time()-t,2), round(cpu()-c,2), log)
        for k,v in conf.items(): house.spark.conf.unset(k)
